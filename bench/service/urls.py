"""The service's addresses, and the plain view's."""

from django.urls import path

from bench.service.views import plain
from rocketrides.urls import urlpatterns as of_the_service

urlpatterns = [path("plain", plain), *of_the_service]
