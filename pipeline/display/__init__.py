"""What people see on a terminal; one module for each kind of page.

`console` holds the two consoles and what all pages share, `progress` shows work as it goes on.
"""
