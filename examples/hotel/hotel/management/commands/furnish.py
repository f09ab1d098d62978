from django.core.management import BaseCommand

from hotel.models import Guest, Room


class Command(BaseCommand):
    help = "Make the guest and the rooms of the README."

    def handle(self, **options):
        Guest.objects.get_or_create(username="ann", token="a11ce000-0000-4000-8000-000000000000")
        for name in ("Garden", "Attic"):
            Room.objects.get_or_create(name=name)
