"""Migrations of the catalog, run at open by ``serve_app.catalog.migrate``. A new one goes into ``versions/``."""
