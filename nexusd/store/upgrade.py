"""Bringing a database to the newest schema, with the migrations that ship in this package."""

from __future__ import annotations

import sqlalchemy as sa

from nexusd import __version__
from nexusd.core.errors import StartError
from nexusd.store.database import Database, one_line
from nexusd.store.schema import meta
from nexusd.store.statements import Session, Upsert

HEAD = "v0002"
"""The newest migration. Written here too: a start which has nothing to migrate need not load Alembic."""

SCRIPTS = "nexusd.store:migrations"

_OPENED_BY = Upsert(meta, ("key", "value"), ("value",))
_LAST_OPENED_BY = sa.select(meta.c.value).where(meta.c.key == "opened_by")
_VERSION = sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version"))


def bring_up_to_date(database: Database, session: Session) -> None:
    """Raises `StartError` when the schema is newer than this nexusd or cannot be migrated."""
    if _version(database, session) != HEAD:
        _migrate(database, session)
    session.execute(_OPENED_BY, {"key": "opened_by", "value": __version__})


def check_readable(database: Database, session: Session) -> None:
    """Raises `StartError` unless the schema is this nexusd's own. Changes nothing."""
    version = _version(database, session)
    if version == HEAD:
        return
    if version is None:
        raise StartError(f"the {database.label} has no tables of nexusd: set store.url to the daemon's")
    if version > HEAD:
        raise StartError(_too_new(database, session, version))
    raise StartError(
        f"the {database.label} is of an older nexusd (schema {version}): "
        "start the daemon of this version on it once"
    )


def _version(database: Database, session: Session) -> str | None:
    if "alembic_version" not in database.tables(session):
        return None
    row = session.first(_VERSION)
    return row[0] if row is not None else None


def _migrate(database: Database, session: Session) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    version = _version(database, session)
    if version is not None and version not in known:
        raise StartError(_too_new(database, session, version))
    engine = database.engine()
    try:
        with engine.connect() as connection, connection.begin():
            lock = database.migration_lock()
            if isinstance(lock, sa.Select):
                connection.execute(lock)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (sa.exc.SQLAlchemyError, CommandError) as error:
        cause = getattr(error, "orig", None) or error
        raise StartError(f"cannot migrate the {database.label}: {one_line(cause)}") from error
    finally:
        engine.dispose()


def _too_new(database: Database, session: Session, version: str) -> str:
    by = ""
    if "meta" in database.tables(session) and (row := session.first(_LAST_OPENED_BY)) is not None:
        by = f", last opened by nexusd {row[0]}"
    return (
        f"this nexusd ({__version__}) is older than the {database.label} (schema {version}{by}): "
        "install the newer nexusd, or set another store.url"
    )
