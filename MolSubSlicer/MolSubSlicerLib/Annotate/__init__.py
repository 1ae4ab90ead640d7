"""The Annotate panel: outlines, worklists, a second reader."""
