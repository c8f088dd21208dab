"""What the faces say of themselves: one OpenAPI document of all that is served, and the page that shows it."""
