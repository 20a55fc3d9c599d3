"""Having a model write more stories: who is cast, what is asked, what is kept, and going on after a kill."""

from foreshock.texts.writing.stories import Author, chosen_emotions, chosen_topics, prompt, write_stories

__all__ = ["Author", "chosen_emotions", "chosen_topics", "prompt", "write_stories"]
