"""The project's addresses: the API, the admin, and a JSON answer for everything else."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("rides.urls")),
]
