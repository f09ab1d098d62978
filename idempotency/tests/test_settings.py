"""The settings: the reference design's numbers, unless a project says otherwise."""

from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest

from idempotency import conf


def test_the_defaults_are_the_numbers_of_the_reference_design(settings):
    settings.IDEMPOTENCY = {}

    current = conf.current()
    assert current.lock_timeout == timedelta(seconds=90)
    assert current.completer_grace == timedelta(seconds=300)
    assert current.completer_pause == timedelta(seconds=60)
    assert current.retention == timedelta(hours=72)
    assert current.key_min_length == 20
    assert current.batch_size == 1000
    assert current.max_body_bytes == 16 * 1024


def test_a_project_overrides_what_it_names(settings):
    settings.IDEMPOTENCY = {"LOCK_TIMEOUT": timedelta(seconds=60)}

    assert conf.current().lock_timeout == timedelta(seconds=60)
    assert conf.current().retention == timedelta(hours=72)


def test_a_setting_that_does_not_exist_is_refused(settings):
    settings.IDEMPOTENCY = {"LOCK_TIME_OUT": timedelta(seconds=60)}

    with pytest.raises(TypeError, match="lock_time_out"):
        conf.current()


def test_the_settings_cannot_be_changed_in_passing():
    with pytest.raises(FrozenInstanceError):
        conf.current().lock_timeout = timedelta(0)


def test_a_project_without_the_setting_has_the_defaults(settings):
    del settings.IDEMPOTENCY

    assert conf.current() == conf.Settings()
