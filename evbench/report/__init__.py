"""Results and judgements -> words, tables and figures. Nothing is computed here."""
