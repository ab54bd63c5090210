"""Entry point of `python -m app.cli`."""

from app.contract.process import imports_without_gc

with imports_without_gc():
    from app.cli import main

if __name__ == "__main__":
    main()
