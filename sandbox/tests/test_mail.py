"""The demo's mails are files, and a demo that runs for days does not fill the disk with them."""

from django.core.mail import send_mail

from sandbox import mail


def test_the_latest_mails_stay_and_older_ones_go(settings, tmp_path, monkeypatch):
    settings.EMAIL_BACKEND = "sandbox.mail.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path
    monkeypatch.setattr(mail, "MAILS_KEPT", 10)
    monkeypatch.setattr(mail, "REMOVED_AT_ONCE", 5)

    for n in range(100):
        send_mail(f"Receipt {n}", "", None, ["user@example.com"])

    kept = [file.read_text() for file in tmp_path.iterdir()]
    assert len(kept) < 15  # fewer where two connections of one second share a file
    for n in range(90, 100):
        assert any(f"Subject: Receipt {n}\n" in text for text in kept)
