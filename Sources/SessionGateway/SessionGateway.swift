// SessionGateway
