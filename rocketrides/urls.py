"""The project's addresses: the admin, and those of the service."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from idempotency.http.health import healthz, readyz
from idempotency.watching.metrics import metrics

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("", include("rides.urls")),
]
