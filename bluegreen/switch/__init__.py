"""The switch: fence, drain, decision, opening, and whoever carries them out."""
