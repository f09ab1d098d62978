import uuid

from hotel.models import Guest


def guest_of(request):
    """Return the guest whose token the request has, or None."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        return Guest.objects.filter(token=uuid.UUID(token)).first() if scheme == "Bearer" else None
    except ValueError:
        return None
