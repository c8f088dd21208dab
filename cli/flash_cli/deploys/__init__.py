"""A build comes to a stage of an app: what that changes, how it looks, whether it lives."""
