"""The switch: fence, drain, decision, opening, and the processes that carry them out."""
