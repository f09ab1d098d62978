"""The service's addresses, and those of the views beside it: the plain one and the unsafe one."""

from django.urls import path

from bench.service.unsafe import book_ride
from bench.service.views import plain
from rocketrides.urls import urlpatterns as of_the_service

urlpatterns = [path("plain", plain), path("unsafe/rides", book_ride), *of_the_service]
