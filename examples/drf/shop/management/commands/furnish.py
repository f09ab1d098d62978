from django.contrib.auth.models import User
from django.core.management import BaseCommand
from rest_framework.authtoken.models import Token


class Command(BaseCommand):
    help = "Make the customer of the README."

    def handle(self, **options):
        ann, _ = User.objects.get_or_create(username="ann")
        Token.objects.get_or_create(user=ann, defaults={"key": "anns-token"})
