"""What Cuecard could have saved on calls that a log kept: read from files, without any model call."""
