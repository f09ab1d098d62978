"""Three roles as groups, made after each `migrate`, since the permissions exist only then.

A viewer sees what is open and no personal data; an operator sees that too, and may decide and act;
an admin has besides what the project gives it, such as its users' pages. A project adds permissions
of its own tables to each.
"""

from typing import Any

from django.apps import AppConfig, apps
from django.db import DEFAULT_DB_ALIAS, router

from idempotency.support.permissions import SEES_PERSONAL_DATA

_WATCHED = (
    *("overview", "idempotencykey", "requestunderreview", "reviewdecision"),
    *("stagedjob", "jobdelivery", "heartbeat"),
)
_VIEWER = tuple(f"idempotency.view_{model}" for model in _WATCHED)
_OPERATOR = (
    *_VIEWER,
    SEES_PERSONAL_DATA,
    "idempotency.change_idempotencykey",
    "idempotency.change_jobdelivery",
)

ROLES: dict[str, set[str]] = {
    "viewer": set(_VIEWER),
    "operator": set(_OPERATOR),
    "admin": set(_OPERATOR),
}
"""The permissions of each, as `app_label.codename`."""


def group_name(role: str) -> str:
    """Return the name of a role's group: one that no group of a project's own has by chance, which
    would be given rights that nobody meant for it.
    """
    return f"console {role}"


def extend(**permissions: tuple[str, ...]) -> None:
    """Give roles permissions of a project's own: `extend(viewer=("shop.view_order",))`. To be
    called where its app gets ready. An operator has a viewer's too, and an admin an operator's.
    """
    above = ("viewer", "operator", "admin")
    for role, added in permissions.items():
        for higher in above[above.index(role) :]:
            ROLES[higher].update(added)


def make_roles(*, app_config: AppConfig, using: str = DEFAULT_DB_ALIAS, **options: Any) -> None:
    """Receive `post_migrate`: make the groups, and give each what it lacks. What an administrator
    has given a group besides, it keeps.
    """
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.management import create_permissions
    from django.contrib.auth.models import Group, Permission

    if not router.allow_migrate_model(using, Group):
        return
    # Its own receiver may come after this one.
    create_permissions(app_config, using=using, verbosity=0)
    for role, names in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=group_name(role))
        of_the_app = [name.partition(".")[2] for name in names if _is_of(name, app_config)]
        permissions = Permission.objects.using(using).filter(
            content_type__app_label=app_config.label, codename__in=of_the_app
        )
        group.permissions.add(*permissions)


def _is_of(name: str, app_config: AppConfig) -> bool:
    return name.startswith(f"{app_config.label}.")
