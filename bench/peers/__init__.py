"""What letters is measured beside: other ways from the same statistics to the same PDFs.

Each is a program of its own, so that its time and memory are its own: it is started, composes the
letters as this project does, makes them, says on standard output what it has done, line by line
(see `bench.contender`), and ends.
"""
