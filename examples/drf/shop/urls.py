from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from shop.views import OrderView

urlpatterns = [
    path("orders", OrderView.as_view()),
    path(
        "openapi.json",
        SpectacularJSONAPIView.as_view(permission_classes=[], authentication_classes=[]),
    ),
]
