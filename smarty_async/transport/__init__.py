"""To the service and back: chunks formed, sent, answered, tried again."""
