from rest_framework import serializers


class OrderSerializer(serializers.Serializer):
    book = serializers.CharField(max_length=100)
    copies = serializers.IntegerField(min_value=1, max_value=100)


class ConfirmationSerializer(serializers.Serializer):
    message = serializers.CharField()
    payment = serializers.CharField()


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    retryable = serializers.BooleanField()
