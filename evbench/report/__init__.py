"""Results and judgements -> words and tables. Nothing is computed here."""
