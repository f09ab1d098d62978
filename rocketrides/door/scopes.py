"""What an ASGI server says of a request, in the words of WSGI, of which Django makes its own."""

import io
from typing import Any
from urllib.parse import unquote_to_bytes

WITHOUT_PREFIX = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


def environ_of(scope: dict[str, Any], body: io.BytesIO) -> dict[str, Any]:
    """Return the WSGI environ (PEP 3333) of an ASGI scope, with `body` as its input."""
    path: bytes = scope["raw_path"]
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
    }
    for name, value in scope["headers"]:
        # `X_Forwarded_For` would pass for `X-Forwarded-For`, which a proxy takes care to set.
        if b"_" not in name:
            _add_header(environ, name, value.decode("latin-1"))
    return environ


def _add_header(environ: dict[str, Any], name: bytes, value: str) -> None:
    variable = WITHOUT_PREFIX.get(name) or f"HTTP_{name.decode().upper().replace('-', '_')}"
    if variable in environ:  # sent more than once
        between = "; " if variable == "HTTP_COOKIE" else ","
        value = f"{environ[variable]}{between}{value}"
    environ[variable] = value
