"""`python -m flash_cli` is `flash`."""

from flash_cli.main import main

if __name__ == "__main__":
    main()
