"""The launch form shows what augmentation does to the training images, and does not wait for the picture."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("figures")


def test_no_picture_is_offered_where_nothing_is_augmented(client: Any, look: Any) -> None:
    assert not look(client.get("/launch?family=simple_cnn")).all("figure", id="plan-augmented")
    assert not look(client.get("/launch?family=simple_cnn&flip=maybe")).all("figure", id="plan-augmented")


def test_the_picture_is_drawn_after_the_page_was_sent_and_then_shown_at_once(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&flip=true&mixup=0.2&seed=3"))
    figure = page.one("figure", id="plan-augmented")
    assert figure["hx-trigger"] == "load"
    assert figure["aria-busy"] == "true"
    drawn = look(client.get(figure["hx-get"]))
    assert "hx-get" not in drawn.one("figure", id="plan-augmented")
    image = drawn.one("img")
    assert "digits" in image["alt"]
    picture = client.get(image["src"])
    assert picture.headers["content-type"] == "image/png"
    assert "max-age" in picture.headers["cache-control"]
    assert picture.content.startswith(b"\x89PNG")
    again = look(client.get("/launch?family=vit&flip=true&mixup=0.2&seed=3&lr=0.01"))
    assert again.one("figure", id="plan-augmented").get("hx-get") is None
    assert again.one("img")["src"] == image["src"]


def test_mixup_and_cutmix_are_told_apart_if_both_are_on(
    client: Any, look: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.state.parts.augmented, "kept", lambda config: b"drawn before")
    for query, told in (("mixup=0.2", False), ("cutmix=1", False), ("mixup=0.2&cutmix=1", True)):
        page = look(client.get(f"/launch?family=simple_cnn&{query}"))
        assert page.all("img")
        assert ("mixup in the first two rows, CutMix in the last two" in page.html) == told


def test_a_dataset_that_is_not_there_yet_is_said_and_nothing_is_downloaded(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&dataset=mnist&rotation=10"))
    drawn = look(client.get(page.one("figure", id="plan-augmented")["hx-get"]))
    assert "Augmented images are shown once a run has prepared mnist." in drawn.html
    assert "hx-get" not in drawn.one("figure", id="plan-augmented")


def test_settings_that_are_wrong_are_refused_with_a_sentence(client: Any, look: Any) -> None:
    answer = client.get("/launch/augmented.png?flip=true&erasing=7")
    assert "must be at most 1" in look(answer, 422).html
