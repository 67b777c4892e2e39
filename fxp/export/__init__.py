"""Writers of an integer graph in other tools' formats."""
