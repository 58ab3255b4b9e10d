"""Where people and programs come in.  A front translates, it decides nothing: rules are the exchange's."""
