"""How work reaches participants and answers come back."""
