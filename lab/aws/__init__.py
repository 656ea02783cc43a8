"""AWS for the lab: moto in a process of its own, corrected by subclasses, wired to real servers.

The corrections are what moto 5.2.5 answers differently from AWS, as far as this project's calls
reach; a contract test lists each of them. Nothing of the installed package is edited.
"""
