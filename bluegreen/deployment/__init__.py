"""What a stack may become: transitions, a suitable source, retirement, where names lead."""
