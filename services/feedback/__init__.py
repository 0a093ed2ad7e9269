"""The room of the feedback service: surveys, responses and scores. It is not furnished yet."""
