"""`crossborder verify`: every invariant of databases and topics."""
