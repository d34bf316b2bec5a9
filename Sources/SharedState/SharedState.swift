/// What several instances share through Redis.
enum SharedStateModule {}
