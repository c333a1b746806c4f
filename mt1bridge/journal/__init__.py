"""What is known, durable and in order: stage 3 (SQLite).

journal.py     the journal as the loop sees it: epochs, disk or memory
file.py        the file, set aside where it is damaged
damage.py      damage of the file, or trouble with the disk
mark.py        whether the file is still as the last process left it
store.py       one SQLite file (or memory): what is written down and what is read back
schema.py      the tables
codec.py       values <-> text of the tables (pure)
merge.py       from disk to memory when the disk fails, and back
checkpoint.py  moving the write-ahead log into the file, beside the loop
staging.py     rows of a history scan until it is complete
query.py       reading a journal from outside, for the commands
verify.py      whether a journal is whole
"""
