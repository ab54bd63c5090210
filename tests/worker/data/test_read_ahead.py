"""What the system says of images in memory."""

import mmap

import pytest
import torch

from worker.data import read_ahead

PAGES = 3 * read_ahead._CHUNK_BYTES // mmap.PAGESIZE


@pytest.mark.parametrize("last", [0, 1, PAGES // 2, PAGES - 1])
def test_images_are_in_memory_once_their_last_page_was_touched(last: int) -> None:
    with mmap.mmap(-1, PAGES * mmap.PAGESIZE) as pages:
        images = torch.frombuffer(pages, dtype=torch.uint8)
        assert not read_ahead.in_memory(images)
        for page in range(PAGES):
            if page != last:
                pages[page * mmap.PAGESIZE] = 1
        assert not read_ahead.in_memory(images)
        pages[last * mmap.PAGESIZE] = 1
        assert read_ahead.in_memory(images)
        del images


def test_only_the_pages_of_the_images_themselves_count() -> None:
    with mmap.mmap(-1, 8 * mmap.PAGESIZE) as pages:
        images = torch.frombuffer(pages, dtype=torch.uint8)[mmap.PAGESIZE + 7 : 3 * mmap.PAGESIZE + 1]
        for page in (1, 2, 3):
            assert not read_ahead.in_memory(images)
            pages[page * mmap.PAGESIZE] = 1
        assert read_ahead.in_memory(images)
        del images
