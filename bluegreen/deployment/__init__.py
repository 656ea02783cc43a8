"""What a stack may become: transitions, a fit source, retirement, where names lead."""
