"""`python -m fxsftp` is the command `fxsftp`."""

from fxsftp.app import main

if __name__ == "__main__":
    main()
