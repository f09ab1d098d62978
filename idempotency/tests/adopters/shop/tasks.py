try:
    from django.tasks import task
except ImportError:  # Django 5.2 has it from the package
    from django_tasks import task

from shop.models import Order, Receipt


@task()
def write_receipt(order_id: int) -> None:
    Receipt.objects.create(order=Order.objects.get(pk=order_id))
