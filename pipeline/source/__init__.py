"""The statistics database, read only: one consistent pull of one year.

The relations are named in `pipeline.schema.STATISTICS`; they may be tables or views. Where they
are a site's own views nothing has checked them before, so the pull does: what it cannot count or
print is refused, all of it at once, and never left out in silence. Refused here is what concerns
every letter or their averages: the edition, and words, dates, codes and references that a view
gives wrongly. What is wrong with one authority's own name, officers or remarks is passed on, and is
that letter's fault when it is composed.

Upwards from a single value: `values` reads one; `reading` reads rows and gathers what is wrong
with them; `editions` reads the editions; `tally` counts, in the database, once per authority and
once per kind, over the edition's period; `pulling` is the whole.
"""

from pipeline.london import LONDON
from pipeline.source.editions import (
    Calendar,
    Dates,
    StoredEdition,
    calendar,
    of_the_year_alone,
    stored_edition,
    years,
)
from pipeline.source.pulling import Pull, pull

__all__ = [
    "LONDON",
    "Calendar",
    "Dates",
    "Pull",
    "StoredEdition",
    "calendar",
    "of_the_year_alone",
    "pull",
    "stored_edition",
    "years",
]
