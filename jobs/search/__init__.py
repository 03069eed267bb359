"""Queries of an index that `jobs.index` has built: by words, by an example picture, or by both.

`query` says what is asked and turns filters into SQL, `engine` finds candidates and `scoring`
orders them, says why each was found, and where weak hits begin. `picture` makes the vector of an
example. `listing` and `contact_sheet` show hits. `duplicates` groups near-duplicates.
"""
