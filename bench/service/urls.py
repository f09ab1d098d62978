"""The service's addresses, and the plain view's."""

from django.urls import include, path

from bench.service.views import plain

urlpatterns = [path("plain", plain), path("", include("rocketrides.urls"))]
