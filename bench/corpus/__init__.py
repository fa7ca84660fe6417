"""Chat requests whose task type is known: what a recogniser is measured on. All text is made by this package."""
