"""The operator's console: pages of the admin that show the service as it stands.

Drawn by the server as SVG: no script is needed to read it, and the content security policy has no
exception for it.
"""
