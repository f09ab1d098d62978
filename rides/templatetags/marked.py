"""What stands between backquotes, as code."""

import re

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.filter
def marked(text: str) -> SafeString:
    """Return a description as HTML; whatever else is in it is escaped."""
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", conditional_escape(text))
    return mark_safe(code)  # noqa: S308 - it was escaped before
