from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.views import APIView

from shop.operations import PlaceOrder
from shop.serializers import ConfirmationSerializer, ErrorSerializer, OrderSerializer

# Adoption.
HEADERS = [
    OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True),
    OpenApiParameter("Idempotent-Replayed", bool, OpenApiParameter.HEADER, response=[201, 402]),
    OpenApiParameter("Retry-After", int, OpenApiParameter.HEADER, response=[409, 429, 503]),
]
# End of adoption.


class OrderView(APIView):
    throttle_scope = "orders"

    @extend_schema(
        request=OrderSerializer,
        parameters=HEADERS,
        responses={
            201: ConfirmationSerializer,
            **dict.fromkeys([400, 401, 402, 409, 422, 429, 503], ErrorSerializer),
        },
    )
    def post(self, request):
        # Adoption.
        return PlaceOrder.call(
            user=request.user,
            key=request.headers.get("Idempotency-Key", ""),
            params=request.data,
            request=request,
        )
        # End of adoption.
