"""The embedded demo: a small speech-to-text model in Kyutai's layout, trained here from synthesised
speech. Nothing in this folder is imported by the package that runs models."""
