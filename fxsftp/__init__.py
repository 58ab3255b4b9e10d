"""fxsftp: a shipment exchange over SFTP.  WALK.md follows one file through the house."""

__version__ = "0.1.0"
