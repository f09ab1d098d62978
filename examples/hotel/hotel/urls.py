from django.urls import path

from hotel import views
from hotel.operations import BookTrip

urlpatterns = [
    path("trips", BookTrip.as_view()),
    path("trips/mine", views.my_trips),
    path("wishes", views.make_wish),
]
