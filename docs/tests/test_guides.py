"""The how-to guides, each followed in the project where the tutorial ends."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idempotency.tests.conftest import ROOT
from idempotency.tests.readers import BLOCK, another_database, free_port, reading_in

GUIDES = sorted((ROOT / "docs/howto").glob("*.md"))
README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()

DATABASE = '"NAME": "shop"'
PORT = re.compile(r"\b8001\b")
# What a guide leaves out: the tests that it has run, and a provider of its own.
BESIDE = ROOT / "docs/tests/guides"

Follow = Callable[..., list[str]]


@pytest.fixture(scope="session")
def shop(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's files, as its last step leaves them."""
    folder = tmp_path_factory.mktemp("shop")
    with reading_in(folder, installed) as reader:
        reader.run("django-admin startproject shop .")
        for language, text in BLOCK.findall(TUTORIAL):
            if language == "python":
                reader.write(text)
        reader.run("python manage.py makemigrations shop")
    return folder


# What stands around the README's lines in the tutorial's project, and asks for them.
AROUND_THE_README = """
```python
# shop/readme.py
from datetime import timedelta

from django import forms
from django.http import JsonResponse

from idempotency import STARTED, Operation, Response, foreign_phase, idempotent
from shop import payments
from shop.models import Order, Review


class OrderForm(forms.Form):
    book = forms.CharField(max_length=100)


BLOCKS
```

```python
# shop/urls.py
from django.urls import path

from shop import readme

urlpatterns = [
    path("orders", readme.PlaceOrder.as_view()),
    path("reviews", readme.write_review),
]
```

```python
# shop/tests.py
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.test import Client, TransactionTestCase

from shop.models import Order, Review

FORM = "application/x-www-form-urlencoded"


class Readme(TransactionTestCase):
    def test_each_is_done_once(self):
        User.objects.create_user("ann")
        for number, (path, model) in enumerate([("/orders", Order), ("/reviews", Review)]):
            sent = {"book": "Emma"} if model is Order else {"book": "Emma", "text": "Witty"}
            key = f"the-key-of-ann-for-this-{number}"
            headers = {"Authorization": "ann", "Idempotency-Key": key}
            answers = [Client().post(path, urlencode(sent), FORM, headers=headers) for _ in "ab"]
            self.assertEqual([answer.status_code for answer in answers], [201, 201])
            self.assertEqual(answers[1].headers["Idempotent-Replayed"], "true")
            self.assertEqual(model.objects.count(), 1)
```

```console
provider$ python provider.py 8001
$ python manage.py test
...
OK
...
```
"""


@pytest.fixture
def follow(own_session, shop, installed, tmp_path) -> Iterator[Follow]:
    """Follow a page in a copy of the shop, with a database and a provider of its own."""
    port = free_port()
    with another_database("guide") as name, reading_in(tmp_path, installed) as reader:

        def follow(page: str, *beside: Path) -> list[str]:
            for folder in (shop, *beside):
                shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
            for path in tmp_path.rglob("*.py"):
                here = PORT.sub(port, path.read_text()).replace(DATABASE, f'"NAME": "{name}"')
                path.write_text(here)
            return reader.follow(PORT.sub(port, page))

        yield follow


@pytest.mark.timeout(120)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_is_true_in_every_file_and_command(guide, follow):
    beside = BESIDE / guide.stem

    assert follow(guide.read_text(), *([beside] if beside.exists() else []))


@pytest.mark.django_db(transaction=True)
def test_the_lines_of_the_readme_work_in_the_tutorials_project(follow):
    blocks = [text for language, text in BLOCK.findall(README) if language == "python"]

    assert follow(AROUND_THE_README.replace("BLOCKS", "\n\n".join(blocks)))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "wrong",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ python manage.py check --nowhere\n...\n```\n",
        "```python\n# shop/urls.py\nimport nowhere\n```\n"
        "```console\n$ python manage.py check\n...\n```\n",
        "```python\nno_file = 1\n```\n",
    ],
)
def test_a_guide_that_is_not_true_is_found(wrong, follow):
    with pytest.raises(AssertionError):
        follow(wrong)
